// Says so where the browser is too old for the editor; it has to run there, and comes as it is.
if (!(window.CSS && CSS.supports && CSS.supports("color", "light-dark(red, red)"))) document.getElementById("old-browser").hidden = false;
